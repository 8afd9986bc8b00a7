"""How a move goes: the phases of its two ends, and what each end does next. Pure: no I/O, no threads, no clocks."""
