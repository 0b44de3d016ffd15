"""What the operator sees: one thin module per command group; rendering apart."""
