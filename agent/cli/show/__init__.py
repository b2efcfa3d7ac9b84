"""cli/show — documents of the API as tables and lines for people. Pure: values in, something to print out."""
