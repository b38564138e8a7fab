"""What we remember: facts, profiles, what each ESP last accepted, and the work in between."""
