"""How each vendor tells what happened: its bodies, composed from its documentation, and its habits of delivery."""
