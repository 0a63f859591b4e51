//! End-to-end and fault tests of the whole way, in `it/`; this library is empty.
