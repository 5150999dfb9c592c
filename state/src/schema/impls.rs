//! Schemas of the types everyone has.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

use super::old_value::OldNumber;
use super::{EvolutionError, OldValue, Schema, SchemaBuilder};
use crate::KeyHasher;

/// One word of its own width; `$unsigned` keeps the two's complement bits without sign extension.
macro_rules! integer_schema {
    ($($integer:ty as $unsigned:ty => $write:ident, $evolve:expr);* $(;)?) => {$(
        impl Schema for $integer {
            fn describe(out: &mut SchemaBuilder) {
                out.primitive(stringify!($integer));
            }

            #[inline]
            fn hash_key(&self, hasher: &mut KeyHasher) {
                hasher.$write(*self as $unsigned);
            }

            fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
                $evolve(old)
            }
        }
    )*};
}

/// An integer that holds all values of the old type, as the comparison of the schemas has found.
fn integer<T: TryFrom<u128> + TryFrom<i128>>(old: OldValue<'_>) -> Result<T, EvolutionError> {
    let value = match old.number::<T>()? {
        OldNumber::Unsigned(number) => T::try_from(number).ok(),
        OldNumber::Signed(number) => T::try_from(number).ok(),
        OldNumber::Float32(_) | OldNumber::Float64(_) => None,
    };
    value.ok_or_else(|| EvolutionError::mismatch::<T>(old.old_type()))
}

integer_schema! {
    u8 as u8 => write_u8, integer;
    u16 as u16 => write_u16, integer;
    u32 as u32 => write_u32, integer;
    u64 as u64 => write_u64, integer;
    u128 as u128 => write_u128, integer;
    i8 as u8 => write_u8, integer;
    i16 as u16 => write_u16, integer;
    i32 as u32 => write_u32, integer;
    i64 as u64 => write_u64, integer;
    i128 as u128 => write_u128, integer;
    bool as u8 => write_u8, OldValue::boolean;
    char as u32 => write_u32, OldValue::character;
}

impl Schema for f32 {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("f32");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_u32(self.to_bits());
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        match old.number::<f32>()? {
            OldNumber::Float32(number) => Ok(number),
            _ => Err(EvolutionError::mismatch::<f32>(old.old_type())),
        }
    }
}

impl Schema for f64 {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("f64");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_u64(self.to_bits());
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        match old.number::<f64>()? {
            OldNumber::Float32(number) => Ok(number.into()),
            OldNumber::Float64(number) => Ok(number),
            _ => Err(EvolutionError::mismatch::<f64>(old.old_type())),
        }
    }
}

impl Schema for str {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("String");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_str(self);
    }
}

impl Schema for String {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("String");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_str(self);
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        old.text().map(str::to_owned)
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Vec", &[T::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        self.iter().for_each(|element| element.hash_key(hasher));
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        old.elements::<Self>()?.map(|element| T::evolve(element?)).collect()
    }
}

impl<T: Schema> Schema for Option<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Option", &[T::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        match self {
            None => hasher.write_u32(0),
            Some(value) => {
                hasher.write_u32(1);
                value.hash_key(hasher);
            }
        }
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        old.option()?.map(T::evolve).transpose()
    }
}

impl<T: Schema> Schema for Box<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Box", &[T::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        T::hash_key(self, hasher);
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        T::evolve(old).map(Box::new)
    }
}

impl<T: Schema, const LENGTH: usize> Schema for [T; LENGTH] {
    fn describe(out: &mut SchemaBuilder) {
        out.array::<T>(LENGTH);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.iter().for_each(|element| element.hash_key(hasher));
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        let elements = old.elements::<Self>()?.map(|element| T::evolve(element?));
        let elements = elements.collect::<Result<Vec<T>, _>>()?;
        Self::try_from(elements).map_err(|_| EvolutionError::mismatch::<Self>(old.old_type()))
    }
}

/// A marker has no value; the type it marks is not a part of the structure.
impl<T: ?Sized + 'static> Schema for PhantomData<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("PhantomData");
    }

    #[inline]
    fn hash_key(&self, _: &mut KeyHasher) {}

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        old.marker::<Self>().map(|()| PhantomData)
    }
}

impl Schema for () {
    fn describe(out: &mut SchemaBuilder) {
        out.tuple(&[]);
    }

    #[inline]
    fn hash_key(&self, _: &mut KeyHasher) {}

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        match old.old_type().text() {
            "()" => Ok(()),
            _ => Err(EvolutionError::mismatch::<Self>(old.old_type())),
        }
    }
}

macro_rules! tuple_schema {
    ($($element:ident $index:tt),*) => {
        impl<$($element: Schema),*> Schema for ($($element,)*) {
            fn describe(out: &mut SchemaBuilder) {
                out.tuple(&[$($element::describe),*]);
            }

            #[inline]
            fn hash_key(&self, hasher: &mut KeyHasher) {
                $(self.$index.hash_key(hasher);)*
            }

            fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
                let (old, count) = (old.unboxed()?, [$($index),*].len());
                Ok(($($element::evolve(old.tuple_part::<Self>($index, count)?)?,)*))
            }
        }
    };
}

tuple_schema!(A 0);
tuple_schema!(A 0, B 1);
tuple_schema!(A 0, B 1, C 2);
tuple_schema!(A 0, B 1, C 2, D 3);
tuple_schema!(A 0, B 1, C 2, D 3, E 4);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

impl<K: Schema + Ord, V: Schema> Schema for BTreeMap<K, V> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("BTreeMap", &[K::describe, V::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        for (key, value) in self {
            key.hash_key(hasher);
            value.hash_key(hasher);
        }
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        let mut map = BTreeMap::new();
        for (key, value) in old.entries::<Self>()? {
            if map.insert(K::evolve(key)?, V::evolve(value)?).is_some() {
                return Err(old.doubled());
            }
        }
        Ok(map)
    }
}

impl<T: Schema + Ord> Schema for BTreeSet<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("BTreeSet", &[T::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        self.iter().for_each(|element| element.hash_key(hasher));
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        let mut set = BTreeSet::new();
        for element in old.set_elements::<Self>()? {
            if !set.insert(T::evolve(element)?) {
                return Err(old.doubled());
            }
        }
        Ok(set)
    }
}

impl<K, V, S> Schema for HashMap<K, V, S>
where
    K: Schema + Eq + Hash,
    V: Schema,
    S: BuildHasher + Default + 'static,
{
    fn describe(out: &mut SchemaBuilder) {
        out.container("HashMap", &[K::describe, V::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        hasher.write_u64(sum_of_states(self, |(key, value), entry| {
            key.hash_key(entry);
            value.hash_key(entry);
        }));
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        let mut map = HashMap::with_hasher(S::default());
        for (key, value) in old.entries::<Self>()? {
            if map.insert(K::evolve(key)?, V::evolve(value)?).is_some() {
                return Err(old.doubled());
            }
        }
        Ok(map)
    }
}

impl<T: Schema + Eq + Hash, S: BuildHasher + Default + 'static> Schema for HashSet<T, S> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("HashSet", &[T::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        hasher.write_u64(sum_of_states(self, |element, entry| element.hash_key(entry)));
    }

    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        let mut set = HashSet::with_hasher(S::default());
        for element in old.set_elements::<Self>()? {
            if !set.insert(T::evolve(element)?) {
                return Err(old.doubled());
            }
        }
        Ok(set)
    }
}

/// The order-independent word of an unordered collection.
fn sum_of_states<I: IntoIterator>(entries: I, absorb: impl Fn(I::Item, &mut KeyHasher)) -> u64 {
    entries.into_iter().fold(0_u64, |sum, item| {
        let mut entry = KeyHasher::new();
        absorb(item, &mut entry);
        sum.wrapping_add(entry.state())
    })
}
