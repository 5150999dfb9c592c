//! What a declaration says of its past must fit what it is.

#[thalweg::record]
#[thalweg(removed(cents))]
#[derive(Clone)]
struct Payment {
    cents: u64,
}

#[thalweg::record]
#[derive(Clone)]
struct Order {
    #[thalweg(renamed_from = "id")]
    id: u64,
}

#[thalweg::record]
#[derive(Clone)]
struct Refund {
    #[thalweg(removed(reason))]
    cents: u64,
}

fn main() {}
