//! What `#[thalweg(..)]` may say, and where.

#[thalweg::record]
struct Unknown {
    #[thalweg(defaults)]
    field: u64,
}

#[thalweg::record]
#[thalweg(removed(field))]
struct Present {
    field: u64,
}

#[thalweg::record]
#[thalweg(migrate_from = Present)]
struct WithoutFunction {
    field: u64,
}

#[thalweg::record]
struct Itself {
    #[thalweg(renamed_from = "field")]
    field: u64,
}

#[thalweg::record]
#[thalweg(removed(Gone))]
enum Removed {
    Here,
}

#[thalweg::record]
enum DefaultOfVariant {
    #[thalweg(default)]
    Here,
}

#[thalweg::record]
struct Twice {
    #[thalweg(default, default = u64::default)]
    field: u64,
}

fn main() {}
