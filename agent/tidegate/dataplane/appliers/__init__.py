"""One file per part of the data plane; each class here is a dataplane.order.Applier."""
