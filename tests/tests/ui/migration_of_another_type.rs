//! A default, a migration, must be of the right type.

#[thalweg::record]
struct Old {
    field: u64,
}

#[thalweg::record]
#[thalweg(migrate_from = Old, with = of_number)]
struct New {
    field: String,
}

fn of_number(number: u64) -> New {
    New { field: number.to_string() }
}

#[thalweg::record]
struct WrongDefault {
    #[thalweg(default = String::new)]
    field: u64,
}

fn main() {}
