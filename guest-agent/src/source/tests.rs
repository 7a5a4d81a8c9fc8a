//! (filled in the next step)
