"""Genomes: VCF and FASTA."""
