"""Who is asking, and whether they may: decided the same way for every face."""
