"""Speed and memory of the parts of a fit and of a forecast, each beside what it was or what could replace it."""
