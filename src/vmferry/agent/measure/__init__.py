"""Measurements between two hosts: the part of vmferryd."""
