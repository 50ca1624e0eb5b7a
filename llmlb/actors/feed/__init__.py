"""What has happened lately, and who wants to be told what happens next."""

from llmlb.actors.feed.actor import EventFeed, Gauges
from llmlb.actors.feed.messages import Batch, FeedStatistics
from llmlb.actors.feed.readers import KEPT_EVENTS, KEPT_REQUESTS, MOST_SUBSCRIBERS
from llmlb.actors.feed.subscription import Subscription

__all__ = [
    "KEPT_EVENTS",
    "KEPT_REQUESTS",
    "MOST_SUBSCRIBERS",
    "Batch",
    "EventFeed",
    "FeedStatistics",
    "Gauges",
    "Subscription",
]
