"""The API in words that machines read: every route, what it takes, answers and refuses."""
