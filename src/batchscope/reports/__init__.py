"""Tables, figures and the page that show what was found."""
