//! (being written)
use serde::{Deserialize, Serialize};
/// masked
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// m
    pub method: String,
    /// u
    pub url: String,
    /// h
    pub headers: Vec<(String, String)>,
    /// b
    pub body: String,
}
/// t
#[derive(Debug)]
pub struct RequestTemplate;
