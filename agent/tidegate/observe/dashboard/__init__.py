"""The dashboard: one static page and the JSON that it polls.

The files beside this one are served as they are (assets); nothing is ever put into HTML here, so a value cannot become
markup. sampling looks at counters when a page asks, history makes rates of them, figures gives the JSON its shape.
Every figure comes from the kernel's tables, the fast path or Envoy, none from the configuration.
"""
