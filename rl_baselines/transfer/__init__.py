"""From a source to a new run: what is inherited, loaded, laid out anew, held still, and what it was worth."""
