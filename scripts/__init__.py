"""What developers and continuous integration run besides the tests."""
