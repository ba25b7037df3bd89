"""What pods of this node ask of others: destinations, their routes, the listeners that take the connections. Pure."""
