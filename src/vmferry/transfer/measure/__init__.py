"""What is tried and measured between two hosts before a move: reachability and bandwidth."""
