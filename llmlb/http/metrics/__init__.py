"""What there is to be measured, and how a scraper gets to see it."""
