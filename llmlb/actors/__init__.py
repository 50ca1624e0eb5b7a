"""The tasks that own state, and the mailboxes through which all others reach them."""
