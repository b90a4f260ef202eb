//! Proves both clusters equal, record by record, while traffic flows (DESIGN section 4, "Verification").

mod bucket;
mod compare;
mod difference;
mod held;
mod record;
mod walk;
