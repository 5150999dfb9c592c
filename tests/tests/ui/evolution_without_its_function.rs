//! A migration is a type and a function.

#[thalweg::record]
#[derive(Clone)]
struct Old(u64);

#[thalweg::record]
#[thalweg(migrate_from = Old)]
#[derive(Clone)]
struct New(u64);

#[thalweg::record]
#[thalweg(removed(Gone))]
#[derive(Clone)]
enum Kind {
    Here,
}

fn main() {}
