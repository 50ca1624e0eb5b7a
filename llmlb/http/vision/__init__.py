"""Images in requests: where they stand, whether they may pass, and who fetches remote ones."""
