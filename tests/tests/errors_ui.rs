//! Mistakes that the compiler finds, and how it says so: each case under `ui/` must fail with the text beside it.
//!
//! After a change of wording: `TRYBUILD=overwrite cargo test -p thalweg-tests --test errors_ui`, and read what it wrote.

#[test]
fn wrong_types_give_errors_that_a_person_can_read() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
