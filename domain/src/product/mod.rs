//! Room for versioned loan and deposit products. It will have the same files as every noun.
