"""What a step, a window and a score cost, each beside what it cost or could cost."""
