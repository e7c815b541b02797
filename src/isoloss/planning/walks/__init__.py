"""Why the papers disagree about the best size, step by step."""
