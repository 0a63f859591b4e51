//! Room for the calculation engine: day counts, rounding, schedules. Pure arithmetic on money
//! and dates; it knows no aggregate. Loans bring its first content.
