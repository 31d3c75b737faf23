//! Vectors that cannot be right, whatever the text: a device that is broken computes such, and they must
//! not become results. Whether they are the promised model's is the handler's to check (`policy::canary`).

use serde_json::value::RawValue;
use wire::openai::EmbeddingsResponse;

/// What is wrong with a vector; none: nothing that can be seen without knowing its model.
pub fn wrong(vector: &[f32]) -> Option<String> {
    if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
        return Some(format!("value {at} of {} is {}", vector.len(), vector[at]));
    }
    vector.iter().all(|value| *value == 0.0).then(|| format!("all of its {} values are 0", vector.len()))
}

/// What is wrong with the vectors of a server's answer; none also where it is no answer with vectors: then
/// it is the client's to judge.
pub fn wrong_in(body: &RawValue) -> Option<String> {
    let answer: EmbeddingsResponse = serde_json::from_str(body.get()).ok()?;
    answer.data.iter().find_map(|item| match item.embedding.values() {
        Some(vector) => wrong(&vector),
        None => Some("its base64 holds no 32-bit floats".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsound_vectors_are_told() {
        assert_eq!(wrong(&[0.6, -0.8]), None);
        let cases: [(&[f32], &str); 4] = [
            (&[0.6, f32::NAN], "value 1 of 2 is NaN"),
            (&[f32::NEG_INFINITY], "value 0 of 1 is -inf"),
            (&[0.0, -0.0], "all of its 2 values are 0"),
            (&[], "all of its 0 values are 0"),
        ];
        for (vector, told) in cases {
            assert_eq!(wrong(vector).as_deref(), Some(told));
        }
    }

    #[test]
    fn servers_answers_are_read_in_both_encodings() {
        let answer = |embedding: &str| {
            let text = format!(
                r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{embedding}}}],"model":"m","usage":{{"prompt_tokens":1,"total_tokens":1}}}}"#
            );
            wrong_in(&RawValue::from_string(text).unwrap())
        };
        assert_eq!(answer("[0.6,0.8]"), None);
        assert_eq!(answer("\"AACAPw==\""), None, "base64 of 1.0");
        assert!(answer("\"AADAfw==\"").unwrap().contains("NaN"));
        assert!(answer("\"AACA\"").unwrap().contains("base64"));
        let chat = RawValue::from_string(r#"{"choices":[]}"#.to_owned()).unwrap();
        assert_eq!(wrong_in(&chat), None);
    }
}
