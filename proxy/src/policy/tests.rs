//! Tests of the policy host.
