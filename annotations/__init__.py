"""Hand-checked facts about models, and the code that validates them."""
