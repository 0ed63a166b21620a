"""What only vLLM knows: the phases of a start, why one ended, its endpoints, and the simulator."""
