"""Built-in balancers: rules that change how the branches are trained together."""
