use super::*;
use std::collections::HashSet;

/// The first 100,000 events, and each query's answer to them, at this parallelism.
fn flinks_answers(parallelism: usize) {
    let dataset = Arc::new(Dataset::generate(100_000));
    for query in queries() {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(parallelism);
        let settings =
            Settings { dataset: dataset.clone(), events: 100_000, seconds: u64::MAX, with_table: true };
        let outcome = run(&env, query, &settings).unwrap();
        assert_eq!(outcome.table, expected(query, 100_000), "{query}");
        assert_eq!(outcome.reading.events, 100_000);
    }
}

#[test]
fn results_are_flinks() {
    flinks_answers(1);
}

#[test]
fn results_are_flinks_in_parallel() {
    flinks_answers(2);
}

#[test]
fn an_unknown_query_is_refused() {
    let settings = Settings {
        dataset: Arc::new(Dataset::generate(1)),
        events: 1,
        seconds: u64::MAX,
        with_table: false,
    };
    let refusal = run(&StreamExecutionEnvironment::new(), "q6", &settings).unwrap_err();
    assert!(refusal.to_string().contains("unknown query 'q6'; there are q0, q1"), "{refusal}");
}

#[test]
fn flink_has_answered_all_queries() {
    for query in queries() {
        for events in [100_000, 1_000_000] {
            assert!(expected(query, events).is_some(), "{query} {events}");
        }
    }
    assert_eq!(expected("q0", 5), None);
}

#[test]
fn rounds_have_ids_and_times_of_their_own() {
    let dataset = Dataset::generate(500);
    let mut cursor = Cursor::new(1, 3);
    let (mut ids, mut last_ms) = (HashSet::new(), 0);
    for _ in 0..500 {
        let event = cursor.next(&dataset);
        assert!(event.ms() > last_ms);
        last_ms = event.ms();
        let is_new = match event {
            Event::Person(person) => ids.insert((0, person.id)),
            Event::Auction(auction) => ids.insert((1, auction.id)),
            Event::Bid(_) => true,
        };
        assert!(is_new, "{event:?}");
    }
    assert_eq!(last_ms, BASE_MS + 3 * 500 - 3 + 1);
}
