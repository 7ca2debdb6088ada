//! What an operator sees of a configuration: that the shipped one is sound, and that every fault is found.

mod shipped;
