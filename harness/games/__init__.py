"""For each risk its game: what the attacker is handed, and how what comes back is judged."""
