"""WHAT IS KEPT -> FOR PEOPLE: why each photo was left out, and what the others look like."""
