use super::*;
use crate::connector::kafka::record::KafkaRecord;

fn decode<F: DeserializationSchema>(mut format: F, bytes: &[u8]) -> Result<F::Out, String> {
    format.deserialize(&KafkaMessage::of_value(bytes)).map_err(|error| error.to_string())
}

fn encode<T, F: SerializationSchema<T>>(mut format: F, value: &T) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    format.serialize(value, &mut bytes).unwrap();
    assert!(bytes.starts_with(b"before"), "it appends");
    bytes.split_off(b"before".len())
}

/// The value comes back, also from a format that was used before.
fn comes_back<T, F>(mut format: F, values: &[T])
where
    T: PartialEq + std::fmt::Debug,
    F: DeserializationSchema<Out = T> + SerializationSchema<T>,
{
    for value in values {
        let bytes = encode(format.clone(), value);
        assert_eq!(&format.deserialize(&KafkaMessage::of_value(&bytes)).unwrap(), value);
    }
}

fn is_refused<F: DeserializationSchema<Out: std::fmt::Debug>>(format: F, bytes: &[u8], why: &str) {
    let error = decode(format, bytes).unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn values_come_back() {
    comes_back(Bytes, &[vec![], vec![0xff, 0]]);
    comes_back(Text, &[String::new(), "größe".to_owned()]);
    comes_back(Json::<(u8, Option<String>)>::new(), &[(1, None), (2, Some("x".into()))]);
    let rows = ["", "a,b", "say \"x\"", "two\nlines", "größe"].map(|text| (text.to_owned(), 7_u32));
    comes_back(Csv::<(String, u32)>::new(), &rows);
    comes_back(Csv::<(String, u32)>::new().delimiter(b'\t'), &rows);
    comes_back(
        RkyvFormat::<Vec<(u64, String)>>::new(),
        &[vec![], vec![(7, "long enough to be out of line".into())]],
    );
    comes_back(RkyvFormat::<KafkaRecord>::new(), &[KafkaRecord::to("t").with_header("h", "v")]);
}

#[test]
fn what_is_no_value_is_refused_with_a_remedy() {
    is_refused(Text, b"ab\xffc", "not UTF-8 from byte 2 on");
    is_refused(Json::<u8>::new(), b"300", "invalid value: integer `300`");
    is_refused(Json::<u8>::new(), b"", "EOF while parsing");
    is_refused(Csv::<(u8, u8)>::new(), b"1,x", "invalid digit");
    is_refused(Csv::<(u8, u8)>::new(), b"1", "expected columns");
    is_refused(Csv::<(u8, u8)>::new(), b"", "it is empty");
    is_refused(Csv::<(u8, u8)>::new(), b"1,2\n3,4\n", "a second row follows");
    assert_eq!(decode(Csv::<(u8, u8)>::new(), b"1,2\r\n"), Ok((1, 2)));
    let tombstone = KafkaMessage::of_value(b"").without_value();
    let error = Bytes.deserialize(&tombstone).unwrap_err().to_string();
    assert!(error.contains("tombstone") && error.contains("Nullable"), "{error}");
    let error = KeyValue(Text, Text).deserialize(&KafkaMessage::of_value(b"v")).unwrap_err();
    assert!(matches!(error, FormatError::NoKey), "{error}");
}

#[test]
fn archives_are_checked_before_they_are_trusted() {
    type Value = Vec<(u64, String)>;
    let bytes =
        encode(RkyvFormat::<Value>::new(), &vec![(7, "long enough to be out of line".into())]);
    let error = RkyvFormat::<Vec<(u64, u64)>>::new().deserialize(&KafkaMessage::of_value(&bytes));
    assert!(matches!(error, Err(FormatError::SchemaMismatch { .. })));
    is_refused(
        RkyvFormat::<Value>::new(),
        b"{\"id\": 7, \"total\": 12}",
        "read it with the format",
    );
    for length in 0..bytes.len() {
        decode(RkyvFormat::<Value>::new(), &bytes[..length]).unwrap_err();
    }
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x80;
        // A changed character or number cannot be told; all others are, and nothing panics.
        let _ = decode(RkyvFormat::<Value>::new(), &damaged);
    }
}
