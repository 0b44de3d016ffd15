"""What a drill looks at by itself, a module each: a function from a restored server to check results.

A look raises nothing for what it finds, holds no state, and says in its result what it did not see.
"""
