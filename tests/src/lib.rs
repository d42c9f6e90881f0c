//! Tests over the whole workspace: numbers, wire, clients, the binary.
