"""What runs the model: plain torch, and faster engines that must agree with it before they are used."""
