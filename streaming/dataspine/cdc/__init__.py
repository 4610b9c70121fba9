"""Change data capture: one route moves rows from sources through the gate to sinks.

This package knows its own trade and nothing of policy: it asks through protocols and obeys.
"""
