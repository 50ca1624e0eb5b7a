"""What an exchange tells of its way while it is under way, for traces."""
