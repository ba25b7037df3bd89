"""What happens to one connection or request, and why: said by oracles from the facts, not from what was made of them.

Start at trace.py.
"""
