use super::*;
use crate::connector::kafka::format::Json;

fn refusal<F: DeserializationSchema>(source: &KafkaSource<F>) -> (KafkaErrorKind, String) {
    let error = source.lookup("test").map(drop).unwrap_err();
    (error.kind(), error.to_string())
}

fn source() -> KafkaSource<Bytes> {
    KafkaSource::builder("localhost:9092").topics(["orders"])
}

#[test]
fn mistakes_in_settings_are_found_before_anything_is_sent() {
    let cases = [
        (source().topics(Vec::<String>::new()), "call `topics` or `topic_pattern`"),
        (source().topics(["or ders"]), "'or ders' is no name"),
        (source().topic_pattern("("), "no regular expression"),
        (source().property("group.id", "g"), "call `group_id`"),
        (source().property("auto.offset.reset", "latest"), "`start_from`"),
        (source().property("no.such.thing", "1"), "'no.such.thing' = '1'"),
        (source().property("fetch.wait.max.ms", "soon"), "'fetch.wait.max.ms' = 'soon'"),
        (source().start_from(StartPosition::Committed { or: OffsetReset::Latest }), "has no group"),
        (KafkaSource::builder("nowhere:").topics(["orders"]), "write host:port"),
    ];
    for (source, expected) in cases {
        let (kind, text) = refusal(&source);
        assert_eq!(kind, KafkaErrorKind::Setting, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn settings_come_to_the_client_and_the_sources_own_go_before() {
    let source = source().group_id("g").property("fetch.wait.max.ms", "7");
    let source = source.startup_timeout(Duration::from_secs(5)).format(Json::<u8>::new());
    let brokers = source.brokers("test").unwrap();
    let get = |name: &str| brokers.config.get(name);
    assert_eq!((get("group.id"), get("fetch.wait.max.ms")), (Some("g"), Some("7")));
    assert_eq!(get("isolation.level"), Some("read_committed"));
    assert_eq!((get("auto.offset.reset"), brokers.attempts), (Some("error"), 3));
    let brokers = source.clone().read_uncommitted().brokers("test").unwrap();
    assert_eq!(brokers.config.get("isolation.level"), Some("read_uncommitted"));
}

#[test]
fn an_end_makes_it_bounded() {
    assert_eq!(source().boundedness(), Boundedness::Unbounded);
    assert_eq!(source().discovery(), Some(DISCOVERY_INTERVAL_DEFAULT));
    let bounded = source().end_at(EndPosition::Latest);
    assert_eq!((bounded.boundedness(), bounded.discovery()), (Boundedness::Bounded, None));
    assert!(source().is_replayable());
}
