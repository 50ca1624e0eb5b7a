"""The OpenAI dialect: requests as far as they matter here, answers, streams, model lists."""
