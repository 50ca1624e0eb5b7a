"""The short way of the requests that come most: from a connection to the core and back."""
