//! Input that must be a JSON object: serde would also take an array, its items as the members in their order.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that was read from an object and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnlyMaps(PhantomData))
    }
}

struct OnlyMaps<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// For a member that is an object.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// For a member that is a list of objects.
pub(super) fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list: Vec<Object<T>> = Vec::deserialize(deserializer)?;
    Ok(list.into_iter().map(|Object(value)| value).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::conversation::{BotSpec, StartRun};

    #[test]
    fn arrays_are_no_objects() {
        let bot = json!({"provider": "p", "model": "m"});
        let good = json!({"topic": "t", "bots": [bot, bot]});
        assert!(serde_json::from_value::<Object<StartRun>>(good).is_ok());
        for bad in [
            json!(["t", [bot, bot], 3]),
            json!({"topic": "t", "bots": [[null, "p", "m", null, {}], bot]}),
            json!(null),
        ] {
            assert!(
                serde_json::from_value::<Object<StartRun>>(bad.clone()).is_err(),
                "{bad}"
            );
        }
        let params = json!({"provider": "p", "model": "m", "params": [1, 0.5, 0.5, ["x"], 3]});
        assert!(serde_json::from_value::<BotSpec>(params).is_err());
    }
}
